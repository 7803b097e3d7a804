//! Stream management (XEP-0198) without I/O.
