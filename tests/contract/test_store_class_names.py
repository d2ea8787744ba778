"""Names that look the same are the same, whatever system wrote them; on both databases."""

from tests.contract.store_world import NOW, World

TYPED, OF_A_FOLDER = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"


def test_an_accent_of_its_own_makes_no_other_class(world: World) -> None:
    [sample_id] = world.add_samples(1)
    with world.store.write() as tx:
        tx.projects.add_classes(world.project.id, [TYPED])
        tx.projects.add_classes(world.project.id, [OF_A_FOLDER])
        tx.annotations.add_labels(world.project.id, world.ann.id, [(sample_id, OF_A_FOLDER)], "import-", NOW)
    with world.store.read() as tx:
        assert tx.projects.get(world.project.id).class_names == ("owl", "wren", TYPED)
        assert tx.samples.get(sample_id).class_name == TYPED


def test_a_class_is_stored_in_its_plain_form(world: World) -> None:
    with world.store.write() as tx:
        tx.projects.add_classes(world.project.id, [OF_A_FOLDER, TYPED])
        assert tx.projects.get(world.project.id).class_names == ("owl", "wren", TYPED)
