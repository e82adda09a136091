"""How a call was served, where that changes its price."""

from services.chat.tiers import asked_tier, served_tier, told_tier
from services.chat.turn import Dialect, Original, Turn


def asked(**body: object) -> object:
    return asked_tier(Turn((), original=Original(Dialect.RESPONSES, body)))


def test_only_what_has_prices_of_its_own_is_a_condition():
    assert asked(service_tier="priority", speed="fast") == (("service_tier", "priority"), ("speed", "fast"))
    assert asked(service_tier="auto", speed=[]) == asked() == asked_tier(Turn(())) == ()


def test_where_a_model_has_to_run_is_one_where_that_costs_more():
    assert asked(inference_geo="us") == told_tier({"inference_geo": "us"}) == (("inference_geo", "us"),)
    assert asked(inference_geo="global") == ()
    assert served_tier((), told_tier({"inference_geo": "us"})) == (("inference_geo", "us"),)
    assert served_tier((("inference_geo", "us"),), told_tier({"inference_geo": "global"})) == ()


def test_what_a_reply_tells_goes_before_what_was_asked_for():
    flex = (("service_tier", "flex"),)
    assert served_tier(flex, told_tier({"service_tier": "default"})) == ()
    assert served_tier((("service_tier", "fast"),), told_tier({"service_tier": "priority"})) == (
        ("service_tier", "priority"),
    )
    assert served_tier((), told_tier({"service_tier": "priority"})) == (("service_tier", "priority"),)


def test_what_it_does_not_tell_is_as_it_was_asked_for():
    flex = (("service_tier", "flex"),)
    assert served_tier(flex, told_tier({"service_tier": None})) == served_tier(flex, told_tier({})) == flex
    assert served_tier((*flex, ("speed", "fast")), told_tier({"service_tier": "default"})) == (("speed", "fast"),)
