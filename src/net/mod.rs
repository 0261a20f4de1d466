//! Sockets and clocks: listeners, dialer, TLS, resolver.
