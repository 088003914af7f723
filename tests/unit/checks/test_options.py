"""`make options` changes texts of committed files, which must still be there."""

from checks import options
from ops.settings import ROOT


def test_each_text_that_is_replaced_is_in_its_file_once() -> None:
    wanted = {(option.file, option.old) for option in options.OPTIONS} | {(options.TFVARS, options.DATABASE)}
    assert [(file, text) for file, text in wanted if (ROOT / file).read_text().count(text) != 1] == []
