//! The program on an endpoint.
