"""The command `qoemon bridge`: passes reports of a broker and of a collector on to Kafka."""
