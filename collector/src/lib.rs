//! The collector: receives, keeps, adds up, commits.
