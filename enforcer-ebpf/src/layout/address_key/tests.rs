use super::*;

fn address(text: &str) -> Address {
    text.parse::<core::net::IpAddr>().unwrap().into()
}

#[test]
fn a_key_of_a_trie_is_left_aligned_in_network_byte_order() {
    let scope = AddressScope {
        bank: 1,
        ifindex: 7,
    };
    for text in ["10.1.2.3", "fd00:1:2:3:4:5:6:7", "::ffff:10.1.2.3"] {
        let key = AddressKey::new(scope, &address(text));
        assert_eq!((key.scope(), key.address()), (scope, address(text)));
    }
    let first_byte = |text| AddressKey::new(scope, &address(text)).address[0].to_ne_bytes();
    assert_eq!(first_byte("10.1.2.3"), [10, 1, 2, 3]);
    assert_eq!(first_byte("fd00:1::"), [0xfd, 0, 0, 1]);
    // A scope for each family and bank: no prefix of one covers an address of another.
    let scopes = [
        ("10.0.0.1", 0),
        ("10.0.0.1", 1),
        ("a00:1::", 0),
        ("a00:1::", 1),
    ]
    .map(|(text, bank)| AddressKey::new(AddressScope { bank, ifindex: 0 }, &address(text)).scope);
    for (i, scope) in scopes.iter().enumerate() {
        assert!(!scopes[..i].contains(scope), "{scopes:x?}");
    }
}
