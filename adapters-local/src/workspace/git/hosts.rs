//! The host keys of the common forges, so that a first connection cannot be answered by somebody else.
//!
//! Each forge publishes them: docs.github.com "GitHub's SSH key fingerprints", docs.gitlab.com
//! "SSH `known_hosts` entries", support.atlassian.com "Configure SSH and two-step verification".

/// Lines for a `known_hosts` file.
pub(super) const FORGES: &str = "\
github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl
gitlab.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf
bitbucket.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIazEu89wgQZ4bqs3d63QSMzYVa0MuJ2e2gKTKqu+UUO
";
