import sys
import elasticapm
from events import plain, run, say
from elasticapm.transport.base import Transport
from elasticapm.conf.constants import SPAN, TRANSACTION
from millstream import Urllib3Client, AiohttpClient

client = sys.argv[2]
kept = []

class Keep(Transport):
    def queue(self, event_type, data, flush=False):
        kept.append((event_type, data))

    def start_thread(self, pid=None):
        pass

agent = elasticapm.Client(service_name="shop", transport_class="__main__.Keep", central_config=False, cloud_provider="none", metrics_interval="0s", disable_log_record_factory=True)
elasticapm.instrument()
agent.begin_transaction("request")
plain(client)
agent.end_transaction("plain")

class Traced(Urllib3Client):
    def send(self, request):
        agent.begin_transaction("delivery")
        try:
            return super().send(request)
        finally:
            agent.end_transaction("delivery")
class TracedA(AiohttpClient):
    async def send(self, request):
        agent.begin_transaction("delivery")
        try:
            return await super().send(request)
        finally:
            agent.end_transaction("delivery")

learnt = run(client, http_client=Traced() if client=="Analytics" else TracedA())
say(learnt, kept=kept)
