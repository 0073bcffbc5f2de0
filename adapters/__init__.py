"""Everything that talks to something: PostgreSQL, Kafka, the shards, the files of keys."""

from adapters import problem_texts as problem_texts
