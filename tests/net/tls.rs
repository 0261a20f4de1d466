//! TLS, both roles, over a live socket.
