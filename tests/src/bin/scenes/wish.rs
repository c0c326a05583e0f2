//! A service as the command line has it: `name=kind,protocol,port[,target]`.

use ntbench::Value;

/// A service that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceWish {
    pub name: String,
    kind: String,
    protocol: String,
    port: u16,
    target: Option<String>,
}

impl ServiceWish {
    /// How it is written.
    pub const FORM: &str = "NAME=KIND,PROTOCOL,PORT[,TARGET]";

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or_else(|| format!("not of the form {}", Self::FORM))?;
        let mut parts = rest.splitn(4, ',');
        let mut next = || parts.next().ok_or_else(|| format!("not of the form {}", Self::FORM));
        let (kind, protocol, port) = (next()?, next()?, next()?);
        let known = |what: &str, value: &str, all: &[&str]| {
            all.contains(&value)
                .then(|| value.to_owned())
                .ok_or_else(|| format!("the {what} '{value}' is none of {}", all.join(", ")))
        };
        let wish = Self {
            name: name.to_owned(),
            kind: known("kind", kind, &["echo", "discard", "chargen", "forward"])?,
            protocol: known("protocol", protocol, &["tcp", "udp", "both"])?,
            port: port.parse().map_err(|_| format!("'{port}' is no port"))?,
            target: parts.next().map(str::to_owned),
        };
        if name.is_empty() || name == "echo" {
            return Err("a service needs a name of its own, and echo is there already".to_owned());
        }
        match (wish.kind.as_str(), &wish.target) {
            ("forward", None) => Err("a forwarder needs a target: address:port or name:port".to_owned()),
            ("forward", Some(_)) | (_, None) => Ok(wish),
            (kind, Some(_)) => Err(format!("{kind} has no target")),
        }
    }

    /// Its values in the registry.
    pub fn values(&self) -> Vec<(&'static str, Value)> {
        let text = |text: &String| Value::Sz(text.clone());
        let values = [
            ("Kind", Some(text(&self.kind))),
            ("Protocol", Some(text(&self.protocol))),
            ("Port", Some(Value::Dword(self.port.into()))),
            ("Target", self.target.as_ref().map(text)),
        ];
        values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_read_with_all_its_parts() {
        let wish = ServiceWish::parse("web=forward,tcp,8080,[::1]:80").expect("a service");
        assert_eq!((wish.name.as_str(), wish.port, wish.target.as_deref()), ("web", 8080, Some("[::1]:80")));
        assert_eq!(wish.values().len(), 4);
        assert_eq!(ServiceWish::parse("lines=chargen,both,0").expect("a service").values().len(), 3);
    }

    #[test]
    fn what_is_no_service_is_told() {
        let wrong = ["", "x", "x=echo", "x=echo,tcp", "x=echo,tcp,99999", "x=web,tcp,1", "x=echo,ipx,1", "=echo,tcp,1"];
        for text in wrong.into_iter().chain(["echo=discard,tcp,1", "x=forward,tcp,1", "x=echo,tcp,1,host:1"]) {
            assert!(ServiceWish::parse(text).is_err(), "{text}");
        }
    }
}
