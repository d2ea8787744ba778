"""Links by which people join or choose a new password: who may make them, how often and how long they are good."""

import re
from threading import Thread

import pytest

from al_service.domain.states import Role
from tests.web.conftest import PASSWORD, Api, World


def secret_of(answer) -> str:
    assert answer.status_code == 201, answer.text
    assert answer.json["path"].startswith("/join#")
    return answer.json["path"].partition("#")[2]


def invited(world: World, role: str = "labeler", maker: str = "engineer", **more: object) -> str:
    return secret_of(world.api(maker).post("/invitations", {"role": role, **more}))


def join(world: World, secret: str, name: str = "mia", password: str = PASSWORD):
    return world.api(None).post("/invitations/accept", {"secret": secret, "name": name, "password": password})


def code_of(answer) -> tuple[int, str]:
    return answer.status_code, answer.json["error"]["code"]


def test_somebody_who_is_invited_joins_with_that_role_and_signs_in(world):
    secret = invited(world, "reviewer", note="for Mia")
    look = world.api(None).post("/invitations/look", {"secret": secret})
    assert (look.json["role"], look.json["user"], look.json["made_by"]) == ("reviewer", None, "the-engineer")
    joined = join(world, secret)
    assert (joined.status_code, joined.json["user"]["role"]) == (201, "reviewer")
    assert world.services.accounts.sign_in("mia", PASSWORD, address="").role is Role.REVIEWER
    assert code_of(join(world, secret, "tom")) == (404, "invitation_over")
    assert code_of(world.api(None).post("/invitations/look", {"secret": secret})) == (404, "invitation_over")


@pytest.mark.parametrize("maker", list(Role))
@pytest.mark.parametrize("role", list(Role))
def test_nobody_gives_a_role_that_is_not_theirs_to_give(world, maker, role):
    answer = world.api(maker).post("/invitations", {"role": str(role)})
    may = maker is Role.ADMIN or (maker is Role.ENGINEER and role in (Role.REVIEWER, Role.LABELER, Role.VIEWER))
    assert answer.status_code == (201 if may else 403)
    if not may:
        assert answer.json["error"]["code"] == "role_too_low"


def test_a_token_gives_no_more_than_its_own_role(world):
    world.services.accounts.ensure_user("ada", Role.ADMIN)
    narrow = Api(world.app, world.services.accounts.create_token("ada", Role.ENGINEER)[1])
    assert narrow.post("/invitations", {"role": "admin"}).status_code == 403
    assert narrow.post("/invitations", {"role": "labeler"}).status_code == 201
    assert narrow.post("/users/ada/password-link").status_code == 403


def test_a_link_for_several_is_good_for_so_many_and_no_more_at_the_same_moment(world):
    secret = invited(world, uses=3)
    statuses: list[int] = []

    def one(number: int) -> None:
        statuses.append(join(world, secret, f"person-{number}").status_code)

    threads = [Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201] * 3 + [404] * 5
    assert sum(user.name.startswith("person-") for user in world.services.accounts.users()) == 3


def test_a_name_or_password_that_cannot_be_leaves_the_link_good(world):
    secret = invited(world)
    world.services.accounts.add_user("tom", Role.VIEWER)
    assert code_of(join(world, secret, "tom")) == (409, "conflict")
    assert code_of(join(world, secret, "no spaces please")) == (400, "invalid_input")
    assert code_of(join(world, secret, "mia", "short")) == (400, "invalid_input")
    assert join(world, secret, "mia").status_code == 201
    assert world.services.accounts.get_user("tom").role is Role.VIEWER


def test_a_link_ends_by_itself_and_when_it_is_withdrawn(world):
    lasting, brief = invited(world, days=2), invited(world, days=0.5)
    world.clock.advance(0.5 * 86_400)
    assert code_of(join(world, brief)) == (404, "invitation_over")
    engineer = world.api("engineer")
    [open_one] = engineer.get("/invitations").json["invitations"]
    assert open_one["uses_max"] == 1
    assert engineer.delete(f"/invitations/{open_one['id']}").status_code == 204
    assert engineer.delete(f"/invitations/{open_one['id']}").status_code == 204
    assert code_of(join(world, lasting)) == (404, "invitation_over")
    assert engineer.get("/invitations").json["invitations"] == []


def test_a_link_counts_only_while_its_maker_could_make_it(world):
    by_engineer, by_admin = invited(world), invited(world, "engineer", "admin")
    world.services.accounts.ensure_user("second", Role.ADMIN)
    world.services.accounts.change_user("the-engineer", role=Role.LABELER)
    assert code_of(join(world, by_engineer)) == (404, "invitation_over")
    world.services.accounts.change_user("the-engineer", role=Role.ENGINEER)
    world.services.accounts.change_user("the-admin", is_active=False)
    assert code_of(join(world, by_admin)) == (404, "invitation_over")
    assert join(world, by_engineer).status_code == 201


def test_engineers_see_and_withdraw_their_own_links_admins_all(world):
    invited(world)
    invited(world, maker="admin")
    mine, all_of_them = (world.api(role).get("/invitations").json["invitations"] for role in ("engineer", "admin"))
    assert ([item["made_by"] for item in mine], len(all_of_them)) == (["the-engineer"], 2)
    of_admin = next(item["id"] for item in all_of_them if item["made_by"] == "the-admin")
    assert world.api("engineer").delete(f"/invitations/{of_admin}").status_code == 404
    assert world.api("admin").delete(f"/invitations/{mine[0]['id']}").status_code == 204
    assert world.api("admin").delete("/invitations/99999").status_code == 404


def test_a_forgotten_password_is_chosen_anew_by_a_link_which_ends_the_sessions(world):
    browser, _ = world.browser("labeler", "mia")
    admin = world.api("admin")
    first = secret_of(admin.post("/users/mia/password-link"))
    second = secret_of(admin.post("/users/mia/password-link"))
    assert code_of(join(world, first, "mia", "another good one")) == (404, "invitation_over")
    look = world.api(None).post("/invitations/look", {"secret": second})
    assert (look.json["user"], look.json["role"]) == ("mia", "labeler")
    assert code_of(join(world, second, "the-admin", "another good one")) == (400, "invalid_input")
    assert join(world, second, "mia", "another good one").status_code == 201
    assert browser.get("/me").status_code == 401
    assert world.api(None).post("/session", {"name": "mia", "password": "another good one"}).status_code == 200
    assert code_of(join(world, second, "mia", "and once more")) == (404, "invitation_over")


def test_a_password_link_is_for_people_who_are_there_and_switched_on(world):
    admin = world.api("admin")
    assert admin.post("/users/nobody/password-link").status_code == 404
    world.services.accounts.add_user("mia", Role.LABELER)
    secret = secret_of(admin.post("/users/mia/password-link"))
    admin.patch("/users/mia", {"is_active": False})
    assert admin.post("/users/mia/password-link").status_code == 409
    assert code_of(join(world, secret, "mia")) == (404, "invitation_over")
    admin.patch("/users/mia", {"is_active": True})
    world.clock.advance(86_400)
    assert code_of(join(world, secret, "mia")) == (404, "invitation_over")


def test_the_secret_is_stored_nowhere_and_logged_nowhere(world, caplog):
    secret = invited(world)
    join(world, secret, "tom", "bad")
    join(world, secret)
    stored = (world.settings.data_dir / "al.db").read_bytes()
    stored += (world.settings.data_dir / "al.db-wal").read_bytes()
    assert secret.encode() not in stored
    assert secret not in caplog.text
    assert secret not in world.api("admin").get("/audit").text
    assert secret not in world.api("admin").get("/invitations").text


def test_the_audit_log_says_who_invited_whom(world):
    secret = invited(world, "labeler", uses=2)
    join(world, secret)
    [mine] = world.api("engineer").get("/invitations").json["invitations"]
    world.api("engineer").delete(f"/invitations/{mine['id']}")
    world.api("admin").post("/users/mia/password-link")
    entries = world.api("admin").get("/audit").json["entries"]
    found = [(item["user"], item["action"], item["subject"]) for item in reversed(entries)]
    wanted = [
        ("the-engineer", "invitation.create", "labeler"),
        ("mia", "invitation.accept", "mia"),
        ("the-engineer", "invitation.withdraw", "labeler"),
        ("the-admin", "password.link", "mia"),
    ]
    assert [item for item in found if re.match(r"invitation|password", item[1])] == wanted


def test_guessing_is_slowed_down_and_right_links_do_not_count(world):
    secret = invited(world)
    api = world.api(None)
    for _ in range(40):
        assert api.post("/invitations/look", {"secret": secret}).status_code == 200
    for number in range(30):
        assert api.post("/invitations/look", {"secret": f"guess {number}"}).status_code == 404
    refused = join(world, secret)
    assert code_of(refused) == (429, "too_many_requests")
    assert int(refused.headers["Retry-After"]) > 0
    world.clock.advance(601)
    assert join(world, secret).status_code == 201


@pytest.mark.parametrize(
    "body", [{"role": "king"}, {"days": 0}, {"days": 91}, {"uses": 0}, {"uses": 501}, {"note": "x" * 201}, {"more": 1}]
)
def test_what_makes_no_sense_is_refused(world, body):
    assert world.api("admin").post("/invitations", {"role": "labeler", **body}).status_code == 400
    assert world.api("admin").get("/invitations").json["invitations"] == []
