//! Ctrl-c as a stream: none is missed between two waits for it.

/// Ctrl-c and, on Unix, SIGINT however it was sent, from now on.
///
/// # Errors
///
/// When the system takes no handler, or outside of a runtime's context.
#[cfg(unix)]
pub fn interrupts() -> std::io::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
}

/// Ctrl-c, from now on.
///
/// # Errors
///
/// When the system takes no handler.
#[cfg(windows)]
pub fn interrupts() -> std::io::Result<tokio::signal::windows::CtrlC> {
    tokio::signal::windows::ctrl_c()
}
