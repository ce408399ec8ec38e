"""The one Analytics of the process, made from $MILLSTREAM_WRITE_KEY and $MILLSTREAM_HOST."""

from millstream import Analytics

analytics = Analytics()
