-- What the platform keeps gets names that no collection can have (a
-- collection's table has the collection's name, as upstream, so that view
-- queries and indexes say what they mean): collections beginning with "_"
-- are the system's.
ALTER TABLE stacks RENAME TO _kombi_stacks;
ALTER TABLE stack_members RENAME TO _kombi_stack_members;
ALTER TABLE nodes RENAME TO _kombi_nodes;
ALTER TABLE jobs RENAME TO _kombi_jobs;
ALTER TABLE job_logs RENAME TO _kombi_job_logs;
