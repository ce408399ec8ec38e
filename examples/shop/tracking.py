"""The one Analytics of the process, made from $PENSTOCK_WRITE_KEY and $PENSTOCK_HOST."""

from penstock import Analytics

analytics = Analytics()
