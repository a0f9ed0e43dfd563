use super::*;
use proptest::prelude::*;

#[test]
fn ids_of_the_wrong_shape_are_refused() {
    let good = TaskId::new(Timestamp(1), 2, Partition::new(3).expect("in range")).to_string();
    assert_eq!(good.len(), 33);
    for text in [
        "",
        "task_",
        &good[1..],
        &good[..32],
        &format!("{good}0"),
        &good.to_uppercase(),
        "task_8zzzzzzzzzzzzzzzzzzzzzzzzz00",
        "task_ééééééééééééé00",
    ] {
        assert!(TaskId::parse(text).is_err(), "{text}");
    }
    assert!(TeamId::parse("team_x").is_err());
    assert!(UserId::parse("user_x").is_err());
    assert!(TokenId::parse("tok_x").is_err());
    assert!(KeyId::parse("key_abc.efgh").is_err());
    assert!(QueueName::parse("a.b").is_err());
    assert!(QueueName::parse(&"q".repeat(101)).is_err());
}

#[test]
fn an_operation_has_one_id_for_each_text() {
    let id = OperationId::of_text("a");
    assert_eq!(OperationId::parse(id.as_str()), Ok(id.clone()));
    assert_eq!(id, OperationId::of_text("a"));
    assert_ne!(id, OperationId::of_text("b"));
}

#[test]
fn a_test_environment_is_another_team_of_the_same_base() {
    let live = TeamId::new(Timestamp(1), 2);
    let test = live.in_environment(Environment::Test);
    assert_ne!(live, test);
    assert_eq!(test.base(), live);
    assert_eq!(test.in_environment(Environment::Test), test);
    assert_eq!(test.in_environment(Environment::Live), live);
    assert_eq!(TeamId::parse(test.as_str()), Ok(test.clone()));
    assert_eq!(
        (live.environment(), test.environment()),
        (Environment::Live, Environment::Test)
    );
    assert!(TeamId::parse(&format!("{test}_test")).is_err());
    assert!(TeamId::parse(&format!("{live}_")).is_err());
}

proptest! {
    #[test]
    fn a_task_id_survives_its_text(at in 0_i64..1 << 47, random: u128, partition in 0_u16..1024) {
        let id = TaskId::new(Timestamp(at), random, Partition::new(partition).expect("in range"));
        prop_assert_eq!(TaskId::parse(&id.to_string()), Ok(id));
    }

    #[test]
    fn ids_sort_by_time(a in 0_i64..1 << 47, b in 0_i64..1 << 47, r: u128, s: u128) {
        prop_assume!(a < b);
        prop_assert!(TeamId::new(Timestamp(a), r) < TeamId::new(Timestamp(b), s));
    }
}
