//! DNS: questions and answers as values; one lookup as a machine; the cache.
