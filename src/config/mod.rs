//! The configuration file: schema, defaults, validation, sample.
