//! The purpose of IP addresses, according to the IANA special-purpose registries: only global
//! unicast may be called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address may not be called. The message does not repeat the address, which a client need not
/// learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The target's address may not be called: it is {reason}")]
pub struct Blocked {
    pub reason: BlockReason,
}

/// Purpose of an address that may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BlockReason {
    /// 10/8, 172.16/12, 192.168/16.
    #[error("a private address")]
    Private,
    /// 127/8, ::1.
    #[error("a loopback address")]
    Loopback,
    /// 169.254/16, fe80::/10.
    #[error("a link-local address")]
    LinkLocal,
    /// Metadata services of clouds, which hand out credentials.
    #[error("a metadata service")]
    Metadata,
    /// 100.64/10: behind carrier-grade address translation.
    #[error("a shared address (100.64.0.0/10)")]
    Shared,
    /// 224/4, ff00::/8.
    #[error("a multicast address")]
    Multicast,
    /// 255.255.255.255.
    #[error("the broadcast address")]
    Broadcast,
    /// 0/8, ::.
    #[error("an unspecified address")]
    Unspecified,
    /// Documentation, benchmark and protocol addresses, and unassigned ones.
    #[error("a reserved address")]
    Reserved,
    /// ::/96 and ::ffff:0:0:0/96: an IPv4 address in an obsolete or translated form.
    #[error("an IPv4 address in IPv6 form")]
    EmbeddedV4,
    /// 64:ff9b::/96, 64:ff9b:1::/48.
    #[error("a NAT64 address")]
    Nat64,
    /// 2002::/16.
    #[error("a 6to4 address")]
    SixToFour,
    /// 2001::/32.
    #[error("a Teredo address")]
    Teredo,
    /// fc00::/7.
    #[error("a unique local address")]
    UniqueLocal,
    /// fec0::/10.
    #[error("a site-local address")]
    SiteLocal,
    /// On the operator's deny-list.
    #[error("on the operator's deny-list")]
    Denied,
}

/// Metadata services without an address block of their own: Amazon, Google, Azure and others;
/// Alibaba; Azure's wire server, which has a public address; Oracle.
const METADATA_V4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// Amazon, Google.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254),
    Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254),
];

/// Whether that address is global unicast. An IPv4-mapped address (::ffff:0:0/96) is how systems
/// represent IPv4 addresses, and is judged as the IPv4 address; every other embedded form is
/// refused.
pub fn judge(address: IpAddr) -> Result<(), Blocked> {
    let reason = match address.to_canonical() {
        IpAddr::V4(v4) => judge_v4(v4),
        IpAddr::V6(v6) => judge_v6(v6),
    };
    match reason {
        Some(reason) => Err(Blocked { reason }),
        None => Ok(()),
    }
}

fn judge_v4(v4: Ipv4Addr) -> Option<BlockReason> {
    use BlockReason as R;
    if METADATA_V4.contains(&v4) {
        return Some(R::Metadata);
    }
    Some(match v4.octets() {
        [0, ..] => R::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => R::Private,
        [100, 64..=127, ..] => R::Shared,
        [127, ..] => R::Loopback,
        [169, 254, ..] => R::LinkLocal,
        // Protocol assignments; documentation; 6to4 relays; benchmarks.
        [192, 0, 0 | 2, _]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..] => R::Reserved,
        [224..=239, ..] => R::Multicast,
        [255, 255, 255, 255] => R::Broadcast,
        [240..=255, ..] => R::Reserved,
        _ => return None,
    })
}

fn judge_v6(v6: Ipv6Addr) -> Option<BlockReason> {
    use BlockReason as R;
    if METADATA_V6.contains(&v6) {
        return Some(R::Metadata);
    }
    Some(match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => R::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => R::Loopback,
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => R::EmbeddedV4,
        [0x64, 0xff9b, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 1, ..] => R::Nat64,
        [0x2001, 0, ..] => R::Teredo,
        // Protocol assignments (2001::/23); documentation.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => R::Reserved,
        [0x2002, ..] => R::SixToFour,
        [0x2000..=0x3fff, ..] => return None,
        [0xfc00..=0xfdff, ..] => R::UniqueLocal,
        [0xfe80..=0xfebf, ..] => R::LinkLocal,
        [0xfec0..=0xfeff, ..] => R::SiteLocal,
        [0xff00..=0xffff, ..] => R::Multicast,
        // Only 2000::/3 is assigned for global unicast.
        _ => R::Reserved,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(text: &str) -> Option<BlockReason> {
        let address: IpAddr = text.parse().expect("an address");
        judge(address).err().map(|blocked| blocked.reason)
    }

    #[test]
    fn every_special_block_is_refused_by_its_name() {
        use BlockReason as R;
        let cases = [
            ("10.0.0.0", R::Private),
            ("10.255.255.255", R::Private),
            ("172.16.0.1", R::Private),
            ("172.31.255.255", R::Private),
            ("192.168.0.1", R::Private),
            ("127.0.0.1", R::Loopback),
            ("127.255.255.254", R::Loopback),
            ("169.254.0.1", R::LinkLocal),
            ("169.254.169.254", R::Metadata),
            ("100.100.100.200", R::Metadata),
            ("168.63.129.16", R::Metadata),
            ("100.64.0.1", R::Shared),
            ("100.127.255.255", R::Shared),
            ("0.0.0.0", R::Unspecified),
            ("0.1.2.3", R::Unspecified),
            ("192.0.0.1", R::Reserved),
            ("192.0.2.1", R::Reserved),
            ("192.88.99.1", R::Reserved),
            ("198.18.0.1", R::Reserved),
            ("198.19.255.255", R::Reserved),
            ("198.51.100.1", R::Reserved),
            ("203.0.113.1", R::Reserved),
            ("224.0.0.1", R::Multicast),
            ("239.255.255.255", R::Multicast),
            ("240.0.0.1", R::Reserved),
            ("255.255.255.254", R::Reserved),
            ("255.255.255.255", R::Broadcast),
            ("::", R::Unspecified),
            ("::1", R::Loopback),
            ("::7f00:1", R::EmbeddedV4),
            ("::ffff:0:127.0.0.1", R::EmbeddedV4),
            ("::ffff:127.0.0.1", R::Loopback),
            ("::ffff:7f00:1", R::Loopback),
            ("::ffff:169.254.169.254", R::Metadata),
            ("64:ff9b::7f00:1", R::Nat64),
            ("64:ff9b::8.8.8.8", R::Nat64),
            ("64:ff9b:1::1", R::Nat64),
            ("100::1", R::Reserved),
            ("2001::1", R::Teredo),
            ("2001:2::1", R::Reserved),
            ("2001:20::1", R::Reserved),
            ("2001:db8::1", R::Reserved),
            ("2002:7f00:1::", R::SixToFour),
            ("3fff::1", R::Reserved),
            ("5f00::1", R::Reserved),
            ("fc00::1", R::UniqueLocal),
            ("fdff::1", R::UniqueLocal),
            ("fd00:ec2::254", R::Metadata),
            ("fe80::1", R::LinkLocal),
            ("fec0::1", R::SiteLocal),
            ("ff02::1", R::Multicast),
            ("4000::1", R::Reserved),
        ];
        for (text, expected) in cases {
            assert_eq!(reason(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn the_neighbours_of_special_blocks_are_allowed() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2000::1",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
            "3fff:1000::1",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(reason(text), None, "{text}");
        }
    }

    /// IPv4 addresses, half of them in special blocks.
    fn any_v4() -> impl Strategy<Value = Ipv4Addr> {
        let heads = prop::sample::select(vec![
            0_u8, 10, 100, 127, 168, 169, 172, 192, 198, 203, 224, 240, 255,
        ]);
        prop_oneof![
            any::<u32>().prop_map(Ipv4Addr::from),
            (heads, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d)),
        ]
    }

    fn embedded(prefix: [u16; 6], v4: Ipv4Addr) -> IpAddr {
        let [a, b, c, d] = v4.octets().map(u16::from);
        let [p, q, r, s, t, u] = prefix;
        Ipv6Addr::new(p, q, r, s, t, u, a << 8 | b, c << 8 | d).into()
    }

    proptest! {
        #[test]
        fn a_mapped_address_is_judged_as_its_ipv4_address(v4 in any_v4()) {
            let mapped = embedded([0, 0, 0, 0, 0, 0xffff], v4);
            prop_assert_eq!(judge(mapped), judge(v4.into()));
        }

        #[test]
        fn no_other_form_of_a_refused_ipv4_address_is_allowed(v4 in any_v4()) {
            for prefix in [
                [0, 0, 0, 0, 0, 0],
                [0, 0, 0, 0, 0xffff, 0],
                [0x64, 0xff9b, 0, 0, 0, 0],
                [0x64, 0xff9b, 1, 0, 0, 0],
                [0x2001, 0, 0, 0, 0, 0],
            ] {
                prop_assert!(judge(embedded(prefix, v4)).is_err(), "{prefix:x?} {v4}");
            }
            let [a, b, c, d] = v4.octets().map(u16::from);
            let six_to_four = Ipv6Addr::new(0x2002, a << 8 | b, c << 8 | d, 0, 0, 0, 0, 1);
            prop_assert!(judge(six_to_four.into()).is_err());
        }

        #[test]
        fn what_the_standard_library_calls_special_is_refused(v4 in any_v4()) {
            let special = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast()
                || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified();
            prop_assert!(!special || judge(v4.into()).is_err());
        }

        #[test]
        fn only_global_unicast_ipv6_is_allowed(segments in any::<[u16; 8]>()) {
            let v6 = Ipv6Addr::from(segments);
            let global = (0x2000..=0x3fff).contains(&segments[0]);
            prop_assert!(judge(v6.into()).is_err() || global || v6.to_ipv4_mapped().is_some());
        }
    }
}
