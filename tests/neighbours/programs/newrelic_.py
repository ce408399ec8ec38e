import sys, os, tempfile
import newrelic.agent
from newrelic.config import *
open("/tmp/nb/nr.ini","w").write("""[newrelic]
license_key = 0000000000000000000000000000000000000000
app_name = shop
developer_mode = true
distributed_tracing.enabled = true
log_file = stderr
log_level = warning
""")
newrelic.agent.initialize("/tmp/nb/nr.ini")
app = newrelic.agent.register_application(timeout=10)
from events import plain, run, say
from millstream import Urllib3Client, AiohttpClient
client = sys.argv[2]
with newrelic.agent.BackgroundTask(app, "plain"):
    plain(client)

class Traced(Urllib3Client):
    def send(self, request):
        with newrelic.agent.BackgroundTask(app, "delivery"):
            return super().send(request)
class TracedA(AiohttpClient):
    async def send(self, request):
        with newrelic.agent.BackgroundTask(app, "delivery"):
            return await super().send(request)

learnt = run(client, http_client=Traced() if client=="Analytics" else TracedA())
say(learnt)
