//! What every station of Weir shares: configuration, logging, shutdown, listeners, self metrics.
