-- Signing in keeps what it needs in the collections of 0004. What is begun and
-- not ended goes by its age.
CREATE INDEX mfas_created ON _mfas ("collectionRef", "created");
CREATE INDEX otps_created ON _otps ("collectionRef", "created");
