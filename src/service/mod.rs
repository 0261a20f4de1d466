//! One virtual server: wires everything together.
