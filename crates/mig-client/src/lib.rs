//! A typed client of the API and the signing flow.
