-- What Stripe and Zitadel told: kept before it is answered, done from here.

CREATE TABLE webhook_events (
  id text PRIMARY KEY,
  -- order of arrival: events of one object are done in it
  arrival bigint GENERATED ALWAYS AS IDENTITY,
  provider text NOT NULL CHECK (provider IN ('stripe', 'zitadel')),
  -- a repeated delivery finds its first one here
  event_id text NOT NULL,
  type text NOT NULL,
  -- what it is about: Stripe's customer, Zitadel's user
  object text NOT NULL,
  -- the sender's own order of an object's events
  ordinal bigint NOT NULL,
  payload text NOT NULL,
  status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done', 'ignored', 'failed')),
  attempts integer NOT NULL DEFAULT 0,
  not_before timestamptz NOT NULL DEFAULT now(),
  error text,
  received_at timestamptz NOT NULL DEFAULT now(),
  processed_at timestamptz,
  UNIQUE (provider, event_id)
);
CREATE INDEX webhook_events_waiting ON webhook_events (provider, object, arrival) WHERE status = 'pending';
CREATE INDEX webhook_events_next ON webhook_events (provider, arrival) WHERE status = 'pending';
CREATE INDEX webhook_events_arrival ON webhook_events (arrival);
CREATE INDEX webhook_events_old ON webhook_events (processed_at) WHERE status IN ('done', 'ignored');

-- Which customer of Stripe pays for which tenant: the only way from an event
-- to a tenant. Dirty: Stripe knows something newer than we do.
CREATE TABLE stripe_customers (
  customer_id text PRIMARY KEY,
  tenant_id text NOT NULL UNIQUE REFERENCES tenants (id) ON DELETE CASCADE,
  dirty_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX stripe_customers_dirty ON stripe_customers (dirty_at) WHERE dirty_at IS NOT NULL;

-- Who is deleted stays deleted: the row keeps the sub alone, so that late
-- events find that it was there. The ordinals say how new each part is, for
-- events may come in any order.
ALTER TABLE users
  ADD COLUMN status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'deleted')),
  ADD COLUMN email_ordinal bigint NOT NULL DEFAULT 0,
  ADD COLUMN name_ordinal bigint NOT NULL DEFAULT 0,
  ADD COLUMN status_ordinal bigint NOT NULL DEFAULT 0;
