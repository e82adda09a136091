"""Addresses that a provider is to fetch."""

import pytest

from services.chat.dialects.addresses import NO_FILE, PRIVATE, address_fault


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/cat.png",
        "HTTP://93.184.215.14:8080/a?b#c",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
        "https://user:secret@pictures.example.org./x",
        "data:image/png;base64,aGk=",
        "gs://bucket/picture",
        "pictures/relative.png",
        "",
    ],
)
def test_what_is_public_or_no_address_passes(url):
    assert address_fault(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/x",
        "http://127.1/x",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://\uff11\uff12\uff17.0.0.1/",
        "http://localhost:8000/",
        "https://LOCALHOST./",
        "http://a.localhost/",
        "http://10.1.2.3/",
        "http://192.168.0.1/",
        "http://172.16.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://0.0.0.0/",
        "http://224.0.0.1/",
        "http://[::1]/",
        "http://[fe80::1%25eth0]/",
        "http://[fd00::1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://user@127.0.0.1/",
        "http://example.com\\@127.0.0.1/",
        "http://metadata/",
        "http://metadata.google.internal/",
        "http://printer.local/",
        "http:///x",
        "http://[::1/",
        " http://127.0.0.1/",
    ],
)
def test_what_can_only_be_meant_for_a_network_of_ones_own_is_refused(url):
    assert address_fault(url) == PRIVATE


def test_files_are_refused():
    assert address_fault("file:///etc/passwd") == address_fault("FILE:/etc/passwd") == NO_FILE
