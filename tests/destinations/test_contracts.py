"""What every destination must do, of each of ours, and of one that a page builds from scratch."""

from __future__ import annotations

from millstream.destinations import GA4, Amplitude, Mixpanel, PostHog, Slack, TrackingAPI, Webhook
from millstream.testing.contracts import DestinationContract

SECRET = "s3cret-of-the-tests"


class TestTrackingAPI(DestinationContract):
    """Segment, and what speaks its protocol."""

    secret = SECRET

    def make(self) -> TrackingAPI:
        return TrackingAPI(SECRET, host="https://api.example", name="Second")


class TestWebhook(DestinationContract):
    """A signed webhook of batches."""

    secret = SECRET

    def make(self) -> Webhook:
        return Webhook("https://me.example/in?a=b", secret=SECRET, headers={"Authorization": f"Bearer {SECRET}"})


class TestWebhookOfSingleEvents(DestinationContract):
    """A webhook that gets one event at a time."""

    def make(self) -> Webhook:
        return Webhook("https://me.example/in", batch=False)


class TestMixpanel(DestinationContract):
    """Mixpanel."""

    secret = SECRET

    def make(self) -> Mixpanel:
        return Mixpanel(token=SECRET)


class TestAmplitude(DestinationContract):
    """Amplitude, with groups."""

    secret = SECRET

    def make(self) -> Amplitude:
        return Amplitude(api_key=SECRET, group_type="company", min_id_length=1)


class TestPostHog(DestinationContract):
    """PostHog."""

    secret = SECRET

    def make(self) -> PostHog:
        return PostHog(api_key=SECRET)


class TestGA4(DestinationContract):
    """Google Analytics 4."""

    secret = SECRET

    def make(self) -> GA4:
        return GA4(measurement_id="G-ABC123", api_secret=SECRET)


class TestSlack(DestinationContract):
    """Slack, whose URL is the secret."""

    secret = SECRET

    def make(self) -> Slack:
        return Slack(f"https://hooks.slack.example/services/{SECRET}")
