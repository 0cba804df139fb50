// Package providertest holds one conformance suite for each contract of package
// providers. Doubles and real servers run the same suite; a provider's own test is
// one call and a fixture.
package providertest
