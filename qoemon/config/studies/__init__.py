"""CSV files of studies: conditions with ratings."""
