"""Everything that talks to something: PostgreSQL, Kafka, the shards, the files of keys."""
