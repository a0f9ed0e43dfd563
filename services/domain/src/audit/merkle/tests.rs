use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use std::collections::HashMap;
use std::convert::Infallible;

use super::*;

/// All complete subtrees of a tree, as a store would have them.
#[derive(Default)]
struct Kept {
    frontier: Frontier,
    nodes: HashMap<Node, Hash>,
    /// Root of the tree of each size.
    roots: Vec<Hash>,
}

impl Kept {
    fn of<T: AsRef<[u8]>>(leaves: impl IntoIterator<Item = T>) -> Self {
        let mut kept = Self {
            roots: vec![Hash::of(&[])],
            ..Self::default()
        };
        for leaf in leaves {
            let leaf = Hash::of_leaf(leaf.as_ref());
            let nodes = &mut kept.nodes;
            kept.frontier.append_with(leaf, |node, hash| {
                assert_eq!(nodes.insert(node, hash), None);
            });
            kept.roots.push(kept.frontier.root());
        }
        kept
    }
}

impl Nodes for Kept {
    type Error = Infallible;

    fn node(&self, node: Node) -> Result<Hash, Infallible> {
        Ok(self.nodes[&node])
    }
}

fn proof(made: Result<Result<Vec<Hash>, Infallible>, OutOfTree>) -> Vec<Hash> {
    let Ok(path) = made.expect("within the tree");
    path
}

fn hashes(texts: &[&str]) -> Vec<Hash> {
    texts
        .iter()
        .map(|text| Hash::parse(text).expect("a hash"))
        .collect()
}

/// The tree in the tests of Certificate Transparency.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn known() -> Kept {
    Kept::of(LEAVES.iter().map(|leaf| hex::decode(leaf).expect("hex")))
}

#[test]
fn roots_are_those_of_certificate_transparency() {
    let kept = known();
    assert_eq!(
        kept.roots[0].to_string(),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(kept.roots[1..], hashes(&ROOTS));
}

#[test]
fn proofs_are_those_of_certificate_transparency() {
    let kept = known();
    let sibling = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    assert_eq!(
        proof(inclusion(&kept, 0, 8)),
        hashes(&[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            sibling,
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ])
    );
    assert_eq!(
        proof(consistency(&kept, 6, 8)),
        hashes(&[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            ROOTS[3],
        ])
    );
    assert_eq!(proof(consistency(&kept, 1, 1)), []);
    assert_eq!(proof(consistency(&kept, 0, 5)), []);
}

#[test]
fn a_hash_has_one_text() {
    let text = ROOTS[0];
    assert_eq!(Hash::parse(text).expect("a hash").to_string(), text);
    assert_eq!(Hash::parse(&text.to_uppercase()), None);
    assert_eq!(Hash::parse(&text[1..]), None);
}

#[test]
fn what_is_not_in_the_tree_has_no_proof() {
    let kept = known();
    assert_eq!(
        inclusion(&kept, 8, 8).err(),
        Some(OutOfTree::Leaf { index: 8, size: 8 })
    );
    assert_eq!(
        inclusion(&kept, 0, 0).err(),
        Some(OutOfTree::Leaf { index: 0, size: 0 })
    );
    assert_eq!(
        consistency(&kept, 5, 4).err(),
        Some(OutOfTree::Sizes {
            first: 5,
            second: 4
        })
    );
    let (leaf, root) = (Hash::of(b"x"), kept.roots[8]);
    assert!(verify_inclusion(&leaf, 8, 8, &[], &root).is_err());
    assert!(verify_consistency(5, 4, &leaf, &root, &[]).is_err());
}

/// For every size and leaf: proofs hold, but not after a change of one bit, of the position, or of
/// the number of hashes.
#[test]
fn no_altered_inclusion_proof_holds() {
    let kept = known();
    for size in 1..=8 {
        let root = kept.roots[usize::try_from(size).expect("small")];
        for index in 0..size {
            let leaf = kept.nodes[&Node { level: 0, index }];
            let path = proof(inclusion(&kept, index, size));
            assert_eq!(verify_inclusion(&leaf, index, size, &path, &root), Ok(()));
            for other in (0..size).filter(|&other| other != index) {
                assert!(verify_inclusion(&leaf, other, size, &path, &root).is_err());
            }
            for altered in bit_flips(&path) {
                assert!(verify_inclusion(&leaf, index, size, &altered, &root).is_err());
            }
            for altered in resized(&path, root) {
                assert!(verify_inclusion(&leaf, index, size, &altered, &root).is_err());
            }
            for hash in bit_flips(&[leaf, root]) {
                assert!(verify_inclusion(&hash[0], index, size, &path, &hash[1]).is_err());
            }
        }
    }
}

#[test]
fn no_altered_consistency_proof_holds() {
    let kept = known();
    let root = |size: u64| kept.roots[usize::try_from(size).expect("small")];
    for second in 0..=8 {
        for first in 0..=second {
            let path = proof(consistency(&kept, first, second));
            let (old, new) = (root(first), root(second));
            assert_eq!(verify_consistency(first, second, &old, &new, &path), Ok(()));
            for altered in bit_flips(&path).into_iter().chain(resized(&path, new)) {
                assert!(verify_consistency(first, second, &old, &new, &altered).is_err());
            }
            for hash in bit_flips(&[old, new]) {
                let about_nothing = first == 0 && hash[0] == old && first != second;
                let held = verify_consistency(first, second, &hash[0], &hash[1], &path).is_ok();
                // The empty tree is a prefix of every tree.
                assert_eq!(held, about_nothing, "{first} {second}");
            }
        }
    }
}

fn bit_flips(hashes: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..hashes.len() {
        for bit in 0..Hash::BYTES * 8 {
            let mut altered = hashes.to_vec();
            altered[at].0[bit / 8] ^= 1 << (bit % 8);
            all.push(altered);
        }
    }
    all
}

/// One hash added or removed anywhere, and neighbours swapped.
fn resized(path: &[Hash], more: Hash) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..=path.len() {
        let mut longer = path.to_vec();
        longer.insert(at, more);
        all.push(longer);
    }
    for at in 0..path.len() {
        let mut shorter = path.to_vec();
        shorter.remove(at);
        all.push(shorter);
        if at > 0 && path[at] != path[at - 1] {
            let mut swapped = path.to_vec();
            swapped.swap(at, at - 1);
            all.push(swapped);
        }
    }
    all
}

type Reference = MemoryBackedTree<sha2::Sha256, Vec<u8>>;

fn reference(leaves: &[Vec<u8>]) -> Reference {
    let mut tree = Reference::new();
    for leaf in leaves {
        tree.push(leaf.clone());
    }
    tree
}

/// The bytes of a proof in the format of the reference implementation.
fn bytes(path: &[Hash]) -> Vec<u8> {
    path.iter().flat_map(|hash| hash.0).collect()
}

proptest! {
    #[test]
    fn trees_and_proofs_are_those_of_ct_merkle(
        leaves in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5), 1..70),
        pick in any::<proptest::sample::Index>(),
        other in any::<proptest::sample::Index>(),
    ) {
        let kept = Kept::of(&leaves);
        let tree = reference(&leaves);
        let size = leaves.len() as u64;
        let root = kept.frontier.root();
        let theirs = tree.root();
        prop_assert_eq!(&root.0[..], &theirs.as_bytes()[..]);
        for at in 0..=leaves.len() {
            let Ok(hash) = root_at(&kept, at as u64);
            prop_assert_eq!(hash, kept.roots[at]);
        }

        let index = pick.index(leaves.len());
        let path = proof(inclusion(&kept, index as u64, size));
        let theirs = tree.prove_inclusion(index);
        prop_assert_eq!(bytes(&path), theirs.as_bytes());
        let leaf = Hash::of_leaf(&leaves[index]);
        prop_assert_eq!(verify_inclusion(&leaf, index as u64, size, &path, &root), Ok(()));

        let first = 1 + other.index(leaves.len());
        let path = proof(consistency(&kept, first as u64, size));
        let theirs = tree.prove_consistency(leaves.len() - first);
        prop_assert_eq!(bytes(&path), theirs.as_bytes());
        let old = kept.roots[first];
        prop_assert_eq!(verify_consistency(first as u64, size, &old, &root, &path), Ok(()));
    }

    #[test]
    fn a_frontier_survives_its_parts(count in 0_u32..200) {
        let kept = Kept::of((0..count).map(u32::to_be_bytes));
        let frontier = kept.frontier;
        let again = Frontier::from_parts(frontier.size(), frontier.peaks().to_vec());
        prop_assert_eq!(again.as_ref(), Some(&frontier));
        prop_assert_eq!(Frontier::from_parts(frontier.size() + 1, frontier.peaks().to_vec()).is_some(),
            frontier.size().count_ones() == (frontier.size() + 1).count_ones());
    }

    #[test]
    fn no_proof_makes_a_verifier_panic(
        index in any::<u64>(),
        size in any::<u64>(),
        path in proptest::collection::vec(any::<[u8; 32]>().prop_map(Hash), 0..70),
    ) {
        let root = Hash::of(&[]);
        prop_assert!(verify_inclusion(&root, index, size, &path, &root).is_err());
        let _ = verify_consistency(index, size, &root, &root, &path);
    }
}
