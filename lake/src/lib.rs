//! The tables on object storage: schemas, sketches, Parquet files, Delta commits.
