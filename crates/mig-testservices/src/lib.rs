//! Private PostgreSQL and RabbitMQ servers for tests.
