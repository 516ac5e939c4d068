//! The gateway: serves requests and leaves a record of each.
