//! SQL over the tables and over what is not yet committed.
