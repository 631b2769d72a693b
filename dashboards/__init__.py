"""The boards of the sample configuration, as `qoemon dashboards` and the Helm chart have them."""
