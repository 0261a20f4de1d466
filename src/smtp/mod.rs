//! The protocol: lines, commands, replies, bodies, and the server and client machines.
