//! What the gateway's DNS answers: the session's own names, and nothing else.

use std::{collections::BTreeMap, net::Ipv4Addr};

use drydock_protocol::host::Session;
use simple_dns::{
    CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, RCODE, ResourceRecord, TYPE,
    rdata::{A, PTR, RData},
};

/// The gateway's address in every session.
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);

/// Seconds an answer may be kept: nodes come and go.
const TTL: u32 = 1;

/// A session's names.
#[derive(Debug, Default)]
pub(super) struct Zone {
    names: BTreeMap<String, Ipv4Addr>,
}

impl Zone {
    pub(super) fn of(session: &Session) -> Zone {
        let mut names: BTreeMap<_, _> =
            session.nodes.iter().map(|node| (node.name.to_ascii_lowercase(), node.address)).collect();
        names.insert("hub".into(), GATEWAY);
        names.insert("gateway".into(), GATEWAY);
        Zone { names }
    }

    fn name_of(&self, address: Ipv4Addr) -> Option<&str> {
        // Of the gateway's two names, the one that says what it is.
        if address == GATEWAY {
            return self.names.contains_key("gateway").then_some("gateway");
        }
        self.names.iter().find(|(_, known)| **known == address).map(|(name, _)| name.as_str())
    }
}

/// The reply to a question; `None` for what deserves none.
pub(super) fn answer(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let packet = match Packet::parse(question) {
        Ok(packet) => packet,
        Err(_) => return format_error(question),
    };
    // A reply that is sent to a server is an echo or a trick.
    if packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let mut reply = Packet::new_reply(packet.id());
    reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER | PacketFlag::RECURSION_AVAILABLE);
    if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
        reply.set_flags(PacketFlag::RECURSION_DESIRED);
    }
    let [asked] = &packet.questions[..] else {
        *reply.rcode_mut() = RCODE::FormatError;
        return reply.build_bytes_vec().ok();
    };
    reply.questions.push(asked.clone());
    if packet.opcode() != simple_dns::OPCODE::StandardQuery {
        *reply.rcode_mut() = RCODE::NotImplemented;
        return reply.build_bytes_vec().ok();
    }
    match look_up(zone, &asked.qname.to_string(), asked.qtype, asked.qclass) {
        Some(Some(data)) => {
            reply.answers.push(ResourceRecord::new(asked.qname.clone(), CLASS::IN, TTL, data));
        }
        Some(None) => {}
        None => *reply.rcode_mut() = RCODE::NameError,
    }
    reply.build_bytes_vec_compressed().ok()
}

/// `None` when the name is not known, `Some(None)` when it is but has no
/// record of this type.
fn look_up(zone: &Zone, name: &str, qtype: QTYPE, qclass: QCLASS) -> Option<Option<RData<'static>>> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let any = qtype == QTYPE::ANY;
    if !matches!(qclass, QCLASS::CLASS(CLASS::IN) | QCLASS::ANY) {
        return None;
    }
    if let Some(reversed) = name.strip_suffix(".in-addr.arpa") {
        let known = zone.name_of(forward(reversed)?)?.to_owned();
        let wanted = any || qtype == QTYPE::TYPE(TYPE::PTR);
        let target = Name::new(&known).ok()?.into_owned();
        return Some(wanted.then_some(RData::PTR(PTR(target))));
    }
    let address = *zone.names.get(&name)?;
    let wanted = any || qtype == QTYPE::TYPE(TYPE::A);
    Some(wanted.then_some(RData::A(A::from(address))))
}

/// The address in a reversed name: `11.0.168.192` is 192.168.0.11.
fn forward(reversed: &str) -> Option<Ipv4Addr> {
    let Ok(address) = reversed.parse::<Ipv4Addr>() else { return None };
    let [a, b, c, d] = address.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}

/// A reply to what can't be read, if at least its number can.
fn format_error(question: &[u8]) -> Option<Vec<u8>> {
    let id = question.first_chunk::<2>()?;
    // Bit 7 of the third byte says that it is a reply.
    if question.len() < 12 || question[2] & 0x80 != 0 {
        return None;
    }
    let mut reply = Packet::new_reply(u16::from_be_bytes(*id));
    *reply.rcode_mut() = RCODE::FormatError;
    reply.build_bytes_vec().ok()
}

#[cfg(test)]
mod tests {
    use simple_dns::Question;

    use super::*;

    fn zone() -> Zone {
        let names = [("node1", Ipv4Addr::new(192, 168, 0, 11)), ("hub", GATEWAY), ("gateway", GATEWAY)];
        Zone { names: names.into_iter().map(|(name, address)| (name.to_owned(), address)).collect() }
    }

    fn ask(name: &str, qtype: QTYPE) -> (RCODE, Vec<String>) {
        let mut packet = Packet::new_query(7);
        let class = QCLASS::CLASS(CLASS::IN);
        packet.questions.push(Question::new(Name::new_unchecked(name), qtype, class, false));
        let reply = answer(&packet.build_bytes_vec().unwrap(), &zone()).unwrap();
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!(reply.id(), 7);
        let text = |record: &ResourceRecord<'_>| match &record.rdata {
            RData::A(a) => Ipv4Addr::from(a.address).to_string(),
            RData::PTR(name) => name.0.to_string(),
            other => format!("{other:?}"),
        };
        (reply.rcode(), reply.answers.iter().map(text).collect())
    }

    #[test]
    fn a_sessions_names_are_known() {
        let a = QTYPE::TYPE(TYPE::A);
        assert_eq!(ask("node1", a), (RCODE::NoError, vec!["192.168.0.11".into()]));
        assert_eq!(ask("NODE1", a), (RCODE::NoError, vec!["192.168.0.11".into()]));
        assert_eq!(ask("hub", a), (RCODE::NoError, vec!["192.168.0.1".into()]));
        assert_eq!(ask("node1", QTYPE::TYPE(TYPE::AAAA)), (RCODE::NoError, vec![]));
    }

    #[test]
    fn anything_else_does_not_exist() {
        for name in ["node2", "example.com", "node1.example.com", "localhost"] {
            assert_eq!(ask(name, QTYPE::TYPE(TYPE::A)), (RCODE::NameError, vec![]), "{name}");
        }
    }

    #[test]
    fn addresses_have_names() {
        let ptr = QTYPE::TYPE(TYPE::PTR);
        assert_eq!(ask("11.0.168.192.in-addr.arpa", ptr), (RCODE::NoError, vec!["node1".into()]));
        assert_eq!(ask("1.0.168.192.in-addr.arpa", ptr), (RCODE::NoError, vec!["gateway".into()]));
        assert_eq!(ask("8.8.8.8.in-addr.arpa", ptr), (RCODE::NameError, vec![]));
    }

    #[test]
    fn rubbish_and_replies_get_nothing_useful() {
        assert_eq!(answer(b"", &zone()), None);
        assert_eq!(answer(&[0; 5], &zone()), None);
        let reply = Packet::new_reply(1).build_bytes_vec().unwrap();
        assert_eq!(answer(&reply, &zone()), None);
    }
}
