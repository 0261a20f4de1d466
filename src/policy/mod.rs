//! Who may connect and relay, and where a message goes next.
