import sys
from aws_xray_sdk.core import patch, xray_recorder
from events import plain, run, say
from millstream import Urllib3Client

client = sys.argv[2]
kept = []

class Keep:
    def send_entity(self, entity):
        kept.append(entity.to_dict())
    def set_daemon_address(self, address): pass
    ip = port = None

xray_recorder.configure(service="shop", sampling=False, emitter=Keep(), context_missing="LOG_ERROR")
patch(("httplib",))
with xray_recorder.in_segment("plain"):
    plain(client)

class Traced(Urllib3Client):
    def send(self, request):
        with xray_recorder.in_segment("delivery"):
            return super().send(request)

learnt = run(client, http_client=Traced())
say(learnt, kept=kept)
