// The six calls, as Segment's Node library sends them: six_calls.mjs HOST [CLIENT_ID KEY_ID KEY_FILE]
import { readFileSync } from 'node:fs'
import { Analytics } from '@segment/analytics-node'

const [host, clientId, keyId, keyFile] = process.argv.slice(2)
const oauthSettings = clientId && { clientId, keyId, clientKey: readFileSync(keyFile, 'utf8'), authServer: host }
const analytics = new Analytics({ writeKey: 'node-key', host, oauthSettings, flushInterval: 100 })
analytics.on('error', (error) => { console.error(error); process.exitCode = 1 })

const userId = 'u1'
analytics.identify({ userId, traits: { name: 'Michael Bolton', created: new Date(0) } })
analytics.track({ userId, event: 'Item Purchased', properties: { revenue: 39.95, title: 'Café ✓' } })
analytics.page({ userId, name: 'Docs', category: 'Node' })
analytics.screen({ anonymousId: 'a1', name: 'Inbox' })
analytics.group({ userId, groupId: 'g1', traits: { plan: 'free' } })
analytics.alias({ userId, previousId: 'a1' })
await analytics.closeAndFlush({ timeout: 10000 })
