//! The terminal dashboard: asks SQL over HTTP, shows numbers.
