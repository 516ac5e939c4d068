//! The five limits against a model that counts tokens, and on all cores at once.

use std::sync::atomic::AtomicUsize;

use proptest::prelude::*;

use super::*;

/// Tokens, counted as one would by hand, in nanoseconds' worth.
struct Model {
    interval_ns: u64,
    full_ns: u64,
    saved_ns: u64,
}

proptest! {
    #[test]
    fn five_limits_decide_as_counting_tokens_of_all_in_order_does(
        sizes in prop::array::uniform5(prop::option::of((1..2_000_u32, 1..8_u32))),
        gaps in prop::collection::vec(0..3_000_000_u64, 1..150),
    ) {
        let interval = |rate: u32| 1_000_000_000 / u64::from(rate);
        let limits = sizes.map(|size| size.map(|(rate, burst)| {
            Limit { rate: 1e9 / f64::from(u32::try_from(interval(rate)).unwrap()), burst }
        }));
        let [plan_route, plan, route, stage, account] = limits;
        let gateway = Given { plan_route, plan, route, stage, account, ..Given::default() }.start();
        let scopes = [
            ThrottleScope::PlanRoute, ThrottleScope::Plan, ThrottleScope::Route, ThrottleScope::Stage,
            ThrottleScope::Account,
        ];
        let mut models: Vec<_> = scopes.into_iter().zip(sizes).filter_map(|(scope, size)| {
            let (rate, burst) = size?;
            let (interval_ns, full_ns) = (interval(rate), interval(rate) * u64::from(burst));
            Some((scope, Model { interval_ns, full_ns, saved_ns: full_ns }))
        }).collect();
        let route = gateway.limits.route("shop", "prod", ROUTE).unwrap();
        let entry = gateway.key(KEY, "prod").unwrap().plan.unwrap();
        for gap in gaps {
            gateway.clock.advance(gap);
            for (_, model) in &mut models {
                model.saved_ns = model.full_ns.min(model.saved_ns + gap);
            }
            let first = models.iter().find(|(_, model)| model.saved_ns < model.interval_ns);
            let expected = first.map(|(scope, model)| (*scope, model.interval_ns - model.saved_ns));
            if expected.is_none() {
                models.iter_mut().for_each(|(_, model)| model.saved_ns -= model.interval_ns);
            }
            let told = match gateway.limits.check(&route, Some(entry), &gateway.clock, false) {
                Ok(()) => None,
                Err(Stop::Throttled(throttled)) => Some((throttled.scope().unwrap(), throttled.retry_after_ns)),
                Err(Stop::NoReservation(_)) => unreachable!("there is no quota"),
            };
            prop_assert_eq!(told, expected);
        }
    }
}

/// On cores that race for the same tokens, while the clock stands: none is lost and none is given twice.
#[test]
fn on_all_cores_at_once_exactly_what_the_narrowest_limit_allows_passes() {
    let sizes = [70_u32, 60, 50, 90, 80];
    for narrowest in 0..5 {
        let size = |index: usize| Some(limit(if index == narrowest { 40 } else { sizes[index] }));
        let given = Given {
            plan_route: size(0),
            plan: size(1),
            route: size(2),
            stage: size(3),
            account: size(4),
            quota: quota(45),
            ..Given::default()
        };
        let gateway = given.start();
        let route = gateway.limits.route("shop", "prod", ROUTE).unwrap();
        let entry = gateway.key(KEY, "prod").unwrap().plan.unwrap();
        let passed = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if gateway.limits.check(&route, Some(entry), &gateway.clock, true).is_ok() {
                            passed.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(passed.into_inner(), 40);
        assert_eq!(entry.quota.as_ref().unwrap().counter.used(day_of(NOON_S)).requests, 40);
        let size = |index: usize| if index == narrowest { 40 } else { sizes[index] };
        assert_eq!(gateway.tokens(), (0..5).map(|index| size(index) - 40).collect::<Vec<_>>());
    }
}
