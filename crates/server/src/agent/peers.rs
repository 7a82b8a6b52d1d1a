//! Who may ask the agent: users and groups of processes, as the kernel tells them.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use tokio::net::unix::UCred;

/// The list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Peers {
    users: Vec<u32>,
    groups: Vec<u32>,
    said: Vec<String>,
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if self.said.is_empty() { "nobody".to_owned() } else { self.said.join(", ") })
    }
}

impl Peers {
    /// Reads `user:NAME`, `uid:NUMBER`, `group:NAME` and `gid:NUMBER`; names are looked up.
    ///
    /// # Errors
    /// What is wrong and what is allowed.
    pub(crate) fn parse(texts: &[String]) -> Result<Self> {
        let mut peers = Self { said: texts.to_vec(), ..Self::default() };
        for text in texts {
            let number =
                |value: &str| value.parse::<u32>().with_context(|| format!("{text}: it is not a number"));
            match text.split_once(':') {
                Some(("uid", value)) => peers.users.push(number(value)?),
                Some(("gid", value)) => peers.groups.push(number(value)?),
                Some(("user", name)) => {
                    let found = nix::unistd::User::from_name(name).with_context(|| text.clone())?;
                    let Some(user) = found else { bail!("{text}: there is no such user on this host") };
                    peers.users.push(user.uid.as_raw());
                }
                Some(("group", name)) => {
                    let found = nix::unistd::Group::from_name(name).with_context(|| text.clone())?;
                    let Some(group) = found else { bail!("{text}: there is no such group on this host") };
                    peers.groups.push(group.gid.as_raw());
                }
                _ => bail!("{text}: it must be user:NAME, uid:NUMBER, group:NAME or gid:NUMBER"),
            }
        }
        Ok(peers)
    }

    /// Whether nobody may ask.
    pub(crate) const fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// Whether this process may.
    pub(crate) fn admit(&self, peer: &UCred) -> bool {
        self.users.contains(&peer.uid()) || self.groups.contains(&peer.gid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Peers> {
        Peers::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn names_and_numbers_are_understood() {
        let peers = parse(&["user:root", "uid:1234", "group:root", "gid:77"]).unwrap();
        assert_eq!((peers.users, peers.groups), (vec![0, 1234], vec![0, 77]));
    }

    #[test]
    fn what_is_no_user_is_refused() {
        for wrong in [
            "root",
            "uid:",
            "uid:-1",
            "uid:x",
            "user:",
            "user:nobody-of-that-name",
            "group:no-such-group",
            "host:a",
        ] {
            assert!(parse(&[wrong]).unwrap_err().to_string().contains(wrong), "{wrong}");
        }
        assert!(parse(&[]).unwrap().is_empty());
    }

    #[tokio::test]
    async fn only_those_on_the_list_are_admitted() {
        let (one, _other) = tokio::net::UnixStream::pair().unwrap();
        let own = one.peer_cred().unwrap();
        assert!(parse(&[&format!("uid:{}", own.uid())]).unwrap().admit(&own));
        assert!(parse(&[&format!("gid:{}", own.gid())]).unwrap().admit(&own));
        assert!(!parse(&["uid:54321", "gid:54321"]).unwrap().admit(&own));
        assert!(!Peers::default().admit(&own));
    }
}
