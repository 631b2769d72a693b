"""Files that come with qoemon: sample configuration, Grafana boards, systemd unit, reporter for browsers."""
