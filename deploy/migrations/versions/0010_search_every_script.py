"""Search finds words in scripts that put no spaces between them, and the parts of names and addresses.

Runs before the code; the previous release goes on with it, but its searches read all messages of their user.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Characters of Thai, Lao, Burmese, Khmer, Chinese, Japanese and Korean are words of their own, so that any run of them
# is found as a phrase; `services.chat.searching` writes queries likewise. Names such as `user_id` and `a.example/b` are
# several words: the parser would take them for one file or host.
SEARCH = r"""
CREATE FUNCTION search_words(said text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT pg_catalog.to_tsvector('pg_catalog.simple', pg_catalog.regexp_replace(
        pg_catalog.translate(pg_catalog.left(said, 100000), '_./@:', '     '),
        '([\u0E00-\u0EFF\u1000-\u109F\u1100-\u11FF\u1780-\u17FF\u3040-\u30FF\u3130-\u318F\u3400-\u4DBF\u4E00-\u9FFF'
            '\uAC00-\uD7FF\uF900-\uFAFF\uFF66-\uFFDC\U00020000-\U0003FFFF])', ' \1 ', 'g'))
$$;
COMMENT ON FUNCTION search_words IS 'what a text is found by; only its beginning, since Postgres refuses more words';
DROP INDEX chat_messages_search;
CREATE INDEX chat_messages_search ON chat_messages USING gin (search_words(content)) WHERE is_searchable;
"""


def upgrade() -> None:
    """Adds the function, and has the index use it."""
    op.execute(SEARCH)
