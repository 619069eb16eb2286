//! Every attempt of a module that went bad, under every profile.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod profiles;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod scene;
