"""Files that people exchange with the engine: exports of the log, dumps of commerce."""
